"""Several forests as one LightGBM text, each of them asked of some regimes only: one model text whatever was chosen.

A tree of its own regimes gets a root above it that looks at the regime: rows of other regimes end there in a leaf of 0.
So a bundle needs no second model, the scorer no second path, and reasons are the parts of one sum, as always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PER_NODE = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child",
             "internal_value", "internal_weight", "internal_count")  # fmt: skip
_PER_LEAF = ("leaf_value", "leaf_weight", "leaf_count")
_CATEGORICAL = "1"  # the decision: among the categories of the bitset to the left, all else, and missing, to the right
_WORD = 32  # bits of LightGBM's bitsets


@dataclass(frozen=True)
class Grove:
    """A booster's text and whom it is asked of: ``codes`` of the regime, or (``inside`` False) everyone else.

    Without codes and not ``inside`` it is asked of everyone. ``share`` is that of the training rows it is asked of.
    """

    text: str
    codes: tuple[int, ...] = ()
    inside: bool = False
    share: float = 1.0


def joined(groves: Sequence[Grove], feature: int) -> str:
    """One model text whose raw output is the sum of what each grove says of the rows that it is asked of.

    Args:
        groves: boosters of the same columns.
        feature: the position of the regime among the columns.
    """
    head, _, tail = _parts(groves[0].text)
    blocks = []
    used: Counter[str] = Counter()
    names = next(line for line in head.splitlines() if line.startswith("feature_names=")).partition("=")[2].split(" ")
    for grove in groves:
        for tree in _parts(grove.text)[1]:
            mine = tree if not grove.codes and not grove.inside else _under(tree, feature, grove)
            if mine["num_leaves"] != "1":
                used.update(names[int(i)] for i in mine["split_feature"].split(" "))
            blocks.append(f"Tree={len(blocks)}\n" + "".join(f"{k}={v}\n" for k, v in mine.items()) + "\n\n")
    sizes = "tree_sizes=" + " ".join(str(len(block)) for block in blocks)
    lines = [sizes if line.startswith("tree_sizes=") else line for line in head.splitlines()]
    counts = sorted(used.items(), key=lambda item: (-item[1], names.index(item[0])))
    importance = "".join(f"{name}={count}\n" for name, count in counts)
    settings = tail[tail.index("parameters:") :]
    return "\n".join(lines) + "\n\n" + "".join(blocks) + f"end of trees\n\nfeature_importances:\n{importance}\n{settings}"


def _parts(text: str) -> tuple[str, list[dict[str, str]], str]:
    """The head of a model text, its trees as keys and values in their order, and what follows them."""
    body, _, tail = text.partition("end of trees")
    head, *trees = body.split("Tree=")
    found = []
    for tree in trees:
        lines = [line for line in tree.splitlines()[1:] if line]
        found.append(dict(line.split("=", 1) for line in lines))
    return head.rstrip("\n"), found, tail


def _under(tree: Mapping[str, str], feature: int, grove: Grove) -> dict[str, str]:
    """The tree below a root that lets only the grove's regimes in.

    The counts say how many rows go each way, which contributions are relative to: neither side may be empty.
    """
    out = dict(tree)
    leaves, categories = int(tree["num_leaves"]), int(tree["num_cat"])
    single = leaves == 1
    count = 1 if single else int(tree["internal_count"].split(" ")[0])
    others = max(round(count * (1 / max(grove.share, 1e-6) - 1)), 1)
    below = -1 if single else 1  # leaf 0, or what was the root
    empty = -1 - leaves  # the new leaf, whose number is the last
    left, right = (below, empty) if grove.inside else (empty, below)

    def shifted(children: str) -> list[str]:
        return [str(int(c) + 1 if int(c) >= 0 else int(c)) for c in children.split(" ")] if children else []

    root = {
        "split_feature": str(feature),
        "split_gain": "0",
        "threshold": str(categories),
        "decision_type": _CATEGORICAL,
        "left_child": str(left),
        "right_child": str(right),
        "internal_value": "0",
        "internal_weight": "0",
        "internal_count": str(count + others),
    }
    for key in _PER_NODE:
        old = [] if single else tree.get(key, "").split(" ")
        if key in ("left_child", "right_child") and not single:
            old = shifted(tree[key])
        out[key] = " ".join([root[key], *old])
    for key in _PER_LEAF:
        at_root = {"leaf_value": tree["leaf_value"], "leaf_weight": "0", "leaf_count": str(count)}
        out[key] = f"{at_root[key] if single else tree[key]} {others if key == 'leaf_count' else 0}"
    words = [0] * (max(grove.codes) // _WORD + 1)
    for code in grove.codes:
        words[code // _WORD] |= 1 << (code % _WORD)
    before = tree.get("cat_boundaries", "0")
    out["cat_boundaries"] = f"{before} {int(before.split(' ')[-1]) + len(words)}"
    out["cat_threshold"] = " ".join(filter(None, [tree.get("cat_threshold", ""), *map(str, words)]))
    out["num_cat"], out["num_leaves"] = str(categories + 1), str(leaves + 1)
    last = ("is_linear", "shrinkage")  # which LightGBM writes last
    order = [k for k in ("num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type",
                         "left_child", "right_child", *_PER_LEAF, "internal_value", "internal_weight",
                         "internal_count", "cat_boundaries", "cat_threshold", *last) if k in out]  # fmt: skip
    return {k: out[k] for k in order}

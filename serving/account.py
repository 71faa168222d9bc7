"""An account's chance from its prospects', and its people by how much their part moves it; pure.

The prospects of one account are not independent: the same people, the same budget and the same firm stand behind
them, so the naive product ``1 - prod(1 - p_i)`` says too much. The bundle holds a map of it that was fitted to what
accounts did. An account with one open prospect has that prospect's probability, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, NamedTuple

from features.contract import DAY, format_time
from features.errors import BadInput
from features.online import as_of as row_as_of
from features.records import AccountRecords
from features.titles import read_title
from serving.bundle import AccountMap
from serving.committee import BASIS, Committee, Missing, Person, Sign, people, ranked, signs, standing, supposed
from serving.scorer import Reason, Score, Scorer, Warned, episode, sigmoid

_ALL = 1_000_000  # reasons: every one


class AccountReason(NamedTuple):
    """What moved the account's probability: a reason of one of its prospects, or of several (``prospect_id`` None).

    ``effect`` is in log-odds: the prospects' own effects, each with the weight that its prospect has in the account.
    """

    feature: str
    label: str
    value: float | int | str | None
    effect: float
    family: str
    prospect_id: str | None


@dataclass(frozen=True)
class AccountScore:
    """The answer about one account; ``prospects`` are those open at ``as_of``, the most promising first."""

    account_id: str | None
    as_of: int
    goal: str
    horizon_days: int
    probability: float
    probability_low: float
    probability_high: float
    prospects: tuple[Score, ...]
    reasons: tuple[AccountReason, ...]
    committee: Committee | None
    warnings: tuple[Warned, ...]
    model_version: str

    def with_warnings(self, more: Iterable[Mapping[str, str]]) -> AccountScore:
        """The score with further warnings before its own: those of reading the request."""
        return replace(self, warnings=(*_warned(more), *self.warnings))

    def to_json(self) -> dict[str, Any]:
        """The answer of ``POST /score_account``, but for the receipt, which the service adds."""
        return {
            "account_id": self.account_id,
            "as_of": format_time(self.as_of),
            "goal": self.goal,
            "horizon_days": self.horizon_days,
            "probability": self.probability,
            "probability_low": self.probability_low,
            "probability_high": self.probability_high,
            "prospects": [score.to_json() for score in self.prospects],
            "reasons": [reason._asdict() for reason in self.reasons],
            "committee": None if self.committee is None else self.committee.to_json(),
            "warnings": [warning._asdict() for warning in self.warnings],
            "model_version": self.model_version,
        }


class ContactScore(NamedTuple):
    """One person's part, as the model sees it; the last five are None where the events are unknown.

    ``effect`` is the account's log-odds with the person's events minus those without them; ``probability_after`` is
    the account's after one more inbound event of the role's usual type, None where the role or its type is unknown.
    """

    contact_id: str
    role: str | None
    role_inferred: bool
    rank: str | None
    events: int | None
    days_since: float | None
    effect: float | None
    probability_without: float | None
    probability_after: float | None


@dataclass(frozen=True)
class AccountContacts:
    """The people of an account, ranked by ``effect``; ties and the unknown by their id."""

    account_id: str | None
    as_of: int
    goal: str
    horizon_days: int
    probability: float
    contacts: tuple[ContactScore, ...]
    warnings: tuple[Warned, ...]
    model_version: str

    def with_warnings(self, more: Iterable[Mapping[str, str]]) -> AccountContacts:
        """The answer with further warnings before its own: those of reading the request."""
        return replace(self, warnings=(*_warned(more), *self.warnings))

    def to_json(self) -> dict[str, Any]:
        """The answer of ``POST /score_contacts``, but for the receipt, which the service adds."""
        return {
            "account_id": self.account_id,
            "as_of": format_time(self.as_of),
            "goal": self.goal,
            "horizon_days": self.horizon_days,
            "probability": self.probability,
            "contacts": [contact._asdict() for contact in self.contacts],
            "basis": BASIS,
            "warnings": [warning._asdict() for warning in self.warnings],
            "model_version": self.model_version,
        }


def score_account(
    scorer: Scorer, account: AccountRecords, as_of: int, *, reasons: int = 5, language: str = "en"
) -> AccountScore:
    """The probability that the account converts from any of its open prospects, each within its own horizon.

    Every open prospect is scored with the others as its related ones; closed ones are their history. Raises BadInput
    ``no_open_prospect``.
    """
    open_ids = open_prospects(scorer, account, as_of)
    scores = scorer.score_all(map(account.of, open_ids), as_of, reasons=_ALL if reasons > 0 else 0, language=language)
    constants = scorer.constants
    probabilities = [s.probability for s in scores]
    low, high = interval(scores, constants.account, constants.level)
    why = _reasons(scores, constants.account)[:reasons]
    best_first = sorted(scores, key=lambda s: (-s.probability, s.prospect_id))
    return AccountScore(
        account_id=account.account_id or None,
        as_of=as_of,
        goal=scorer.goal.outcome,
        horizon_days=max(s.horizon_days for s in scores),
        probability=combine(probabilities, constants.account),
        probability_low=low,
        probability_high=high,
        prospects=tuple(replace(s, reasons=s.reasons[:reasons]) for s in best_first),
        reasons=why,
        committee=_committee(scorer, account, open_ids, best_first[0].prospect_id, as_of),
        warnings=_warnings(scores, account),
        model_version=scorer.version,
    )


def score_contacts(scorer: Scorer, account: AccountRecords, as_of: int) -> AccountContacts:
    """The people who belong to the account as of t, by how much their events move its probability.

    Raises BadInput ``no_open_prospect``; where the contacts are unknown, nobody is ranked.
    """
    open_ids = open_prospects(scorer, account, as_of)
    scores = scorer.score_all(map(account.of, open_ids), as_of, reasons=0, committee=False)
    probability = combine([s.probability for s in scores], scorer.constants.account)
    best = min(scores, key=lambda s: (-s.probability, s.prospect_id)).prospect_id
    persons = _people(account, as_of)
    ranking = [_contact(scorer, account, open_ids, best, p, as_of, probability) for p in persons.values()]
    ranking.sort(key=lambda c: (c.effect is None, -(c.effect or 0.0), c.contact_id))
    return AccountContacts(
        account_id=account.account_id or None,
        as_of=as_of,
        goal=scorer.goal.outcome,
        horizon_days=max(s.horizon_days for s in scores),
        probability=probability,
        contacts=tuple(ranking),
        warnings=_warnings(scores, account),
        model_version=scorer.version,
    )


def open_prospects(scorer: Scorer, account: AccountRecords, t: int) -> list[str]:
    """The ids, sorted, of the account's prospects that are open at t: created, of this account, and not closed.

    Raises BadInput ``no_open_prospect`` where there is none.
    """
    out = []
    for prospect_id, versions in account.prospects.items():
        row = row_as_of(versions, t)
        if versions[0].values["created_at"] > t or (row is not None and row["account_id"] != account.account_id):
            continue
        started, closed = episode((account.outcomes or {}).get(prospect_id, ()), scorer.goal, t)
        if started and closed is None:
            out.append(prospect_id)
    if not out:
        raise BadInput(
            "no_open_prospect",
            f"none of the account's prospects is open at {format_time(t)}.",
            where="prospects",
            remedy="Send an open prospect of this account, or another as_of.",
        )
    return sorted(out)


def combine(probabilities: Sequence[float], account: AccountMap) -> float:
    """The account's probability from those of its n prospects, in any order; n = 1: the prospect's own.

    It is never below its best prospect's, whatever the map says: the account converts when that one does.
    """
    if len(probabilities) == 1:
        return probabilities[0]
    return max(_mapped(probabilities, account), *probabilities)


def _mapped(probabilities: Sequence[float], account: AccountMap) -> float:
    naive = _naive_logit(probabilities)
    if math.isinf(naive):
        return 0.0 if naive < 0 else 1.0
    return sigmoid(account.intercept + account.naive * naive + account.size * math.log(len(probabilities)))


def _naive_logit(probabilities: Sequence[float]) -> float:
    """The log-odds of ``1 - prod(1 - p)``, exact also for tiny ones."""
    if max(probabilities) >= 1.0:
        return math.inf
    total = -math.fsum(math.log1p(-p) for p in probabilities)  # exact, so that the order changes nothing
    return total + math.log(-math.expm1(-total)) if total > 0.0 else -math.inf


def interval(scores: Sequence[Score], account: AccountMap, level: float) -> tuple[float, float]:
    """The account's interval: the map of all lows and of all highs, wider by what is unsure in the map itself.

    The prospects of an account err together, since they share the firm and its people. The map's standard error, at
    the quantile of ``level``, adds to both arms in quadrature on the log-odds axis.
    """
    if len(scores) == 1:
        return scores[0].probability_low, scores[0].probability_high
    p = combine([s.probability for s in scores], account)
    low = combine([s.probability_low for s in scores], account)
    high = combine([s.probability_high for s in scores], account)
    doubt = NormalDist().inv_cdf((1.0 + level) / 2.0) * account.error
    if 0.0 < p < 1.0:
        x = logit(p)
        low = min(p, sigmoid(x - math.hypot(x - logit(low), doubt)))
        high = max(p, sigmoid(x + math.hypot(logit(high) - x, doubt)))
    return low, high


def logit(p: float) -> float:
    """The log-odds of p, finite also for 0 and 1."""
    p = min(max(p, 5e-324), 1.0 - 2.0**-53)
    return math.log(p) - math.log1p(-p)


def weights(probabilities: Sequence[float], account: AccountMap) -> list[float]:
    """How much the account's log-odds move with each prospect's: their derivatives."""
    if len(probabilities) == 1:
        return [1.0]
    if combine(probabilities, account) > _mapped(probabilities, account):  # the best prospect's is the account's
        best = probabilities.index(max(probabilities))
        return [float(i == best) for i in range(len(probabilities))]
    naive = sigmoid(_naive_logit(probabilities))
    return [account.naive * (p / naive if naive > 0.0 else 1.0 / len(probabilities)) for p in probabilities]


def _reasons(scores: Sequence[Score], account: AccountMap) -> tuple[AccountReason, ...]:
    """The prospects' reasons, weighted; one that says the same of several prospects counts once, with their sum."""
    found: dict[tuple[str, str], list[tuple[str, Reason, float]]] = {}
    for score, weight in zip(scores, weights([s.probability for s in scores], account), strict=True):
        for reason in score.reasons:
            found.setdefault((reason.feature, reason.label), []).append((score.prospect_id, reason, weight))
    out = []
    for parts in found.values():
        one, reason, _ = parts[0]
        effect = math.fsum(weight * each.effect for _, each, weight in parts)
        if effect != 0.0:
            whose = one if len(parts) == 1 else None
            out.append(AccountReason(reason.feature, reason.label, reason.value, effect, reason.family, whose))
    out.sort(key=lambda r: (-abs(r.effect), r.feature, r.prospect_id or ""))
    return tuple(out)


def _people(account: AccountRecords, t: int) -> dict[str, Person]:
    return people(account.contacts or {}, account.all_events(), account.account_id, t)


def _committee(scorer: Scorer, account: AccountRecords, open_ids: Sequence[str], best: str, t: int) -> Committee | None:
    """The trio over all prospects of the account; a supposed event is one of its best prospect."""
    if account.contacts is None:
        return None
    persons = _people(account, t).values()
    roles = standing(persons, t, account.events is not None)
    given = signs(roles, persons, scorer.constants.committee, best, account.account_id, t)
    missing: tuple[Missing, ...] = ranked(given, [_after(scorer, account, open_ids, sign, t) for sign in given])
    return Committee(roles, missing)


def _after(scorer: Scorer, account: AccountRecords, open_ids: Sequence[str], sign: Sign, t: int) -> float:
    return _probability(scorer, account.adding(sign.event, sign.among(account.contacts)), open_ids, t)


def _probability(scorer: Scorer, account: AccountRecords, open_ids: Sequence[str], t: int) -> float:
    return combine(scorer.probabilities(map(account.of, open_ids), t), scorer.constants.account)


def _contact(
    scorer: Scorer,
    account: AccountRecords,
    open_ids: Sequence[str],
    best: str,
    person: Person,
    t: int,
    probability: float,
) -> ContactScore:
    inferred = person.row.get("role") is None and person.role is not None
    rank = read_title(person.row.get("job_title")).rank
    about = (person.contact_id, person.role, inferred, rank)
    if account.events is None:
        return ContactScore(*about, None, None, None, None, None)
    without = probability
    if person.events:
        without = _probability(scorer, account.without(person.contact_id), open_ids, t)
    usual = scorer.constants.committee.get(person.role or "")
    after = None
    if usual is not None:
        event = supposed(usual, best, person.contact_id, t)
        after = _probability(scorer, account.adding(event, account.contacts), open_ids, t)
    since = None if person.last is None else (t - person.last) / DAY
    effect = 0.0 if without == probability else logit(probability) - logit(without)
    return ContactScore(*about, person.events, since, effect, without, after)


def _warnings(scores: Sequence[Score], account: AccountRecords) -> tuple[Warned, ...]:
    """What concerns the whole account, then what is said of every one of its open prospects."""
    out = []
    horizons = sorted({s.horizon_days for s in scores})
    if len(horizons) > 1:
        days = ", ".join(map(str, horizons))
        text = f"the prospects' horizons differ ({days} days): each counts within its own."
        out.append(Warned("mixed_horizons", text))
    rest = len(account.prospects) - len(scores)
    if rest:
        what = "1 prospect is" if rest == 1 else f"{rest} prospects are"
        out.append(Warned("not_open", f"{what} not open at this time and counted as history only."))
    shared = set(scores[0].warnings).intersection(*(s.warnings for s in scores))
    # A request about an account has no `related`: what is unknown there is said of `events` and `outcomes`.
    elsewhere = ("related_unknown", "related_outcomes_unknown")
    return (*out, *(w for w in scores[0].warnings if w in shared and w.code not in elsewhere))


def _warned(more: Iterable[Mapping[str, str]]) -> tuple[Warned, ...]:
    return tuple(Warned(w["code"], w["text"]) for w in more)

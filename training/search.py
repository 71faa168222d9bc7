"""The search for the patient (``--trials``): Optuna proposes what a hazard is made of, a function judges each proposal.

The tree-structured Parzen estimator (Bergstra et al. 2011; Akiba et al. 2019), from the plain recipe on. Who calls it
must keep something from the judging function: of many proposals, the best looks better than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

TOLD = 10  # trials between two words on the progress

# Of LightGBM's parameters, the least and the greatest: whole numbers stay whole, all but ``_EVEN`` count by ratios.
SPACE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "num_iterations": (25, 400),
        "num_leaves": (4, 63),
        "learning_rate": (0.01, 0.2),
        "min_data_in_leaf": (20, 1_000),
        "lambda_l2": (0.1, 100.0),
        "cat_smooth": (5.0, 200.0),
        "max_depth": (2, 8),
        "feature_fraction": (0.2, 1.0),
    }
)
_EVEN = ("max_depth", "feature_fraction")
SHARES = (0.0, 0.5)  # of the log-odds that may be logistic


@dataclass(frozen=True)
class Proposal:
    """What a hazard may be made of: LightGBM parameters with the number of trees, and the logistic share."""

    params: Mapping[str, Any]
    logistic: float

    @property
    def trees(self) -> int:
        """The number of trees."""
        return int(self.params["num_iterations"])


def silent(_: str) -> None:
    """What is told of the progress where nobody listens."""


def search(
    loss: Callable[[Proposal], float],
    trials: int,
    usual: Mapping[str, Any],
    seed: int = 0,
    say: Callable[[str], None] = silent,
) -> Proposal:
    """The proposal with the least loss of so many; same losses and seed, same proposal.

    Args:
        loss: of a proposal, nats per landmark.
        trials: how many are tried, at least 1; the first is the usual one.
        usual: parameters over which a proposal's are put; it holds all of ``SPACE``.
        seed: of the proposals.
        say: called now and then with how far it is.
    """
    import optuna

    def proposed(trial: BaseTrial) -> Proposal:
        params: dict[str, Any] = dict(usual)
        for name, (least, most) in SPACE.items():
            log = name not in _EVEN
            params[name] = (
                trial.suggest_int(name, least, most, log=log)
                if isinstance(least, int) and isinstance(most, int)
                else trial.suggest_float(name, least, most, log=log)
            )
        return Proposal(params, float(trial.suggest_categorical("logistic", SHARES)))

    def told(study: optuna.Study, trial: Any) -> None:
        done = trial.number + 1
        if done % TOLD == 0 or done == trials:
            say(f"searching: {done} of {trials} tried, the least log loss so far is {study.best_value:.4f}")

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({**{name: usual[name] for name in SPACE}, "logistic": 0.0})
    study.optimize(lambda trial: loss(proposed(trial)), n_trials=trials, callbacks=[told])
    return proposed(optuna.trial.FixedTrial(study.best_params))

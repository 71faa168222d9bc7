"""A simulated CRM whose true probabilities are known: nothing moves the hazard that is not in the records.

The world, frozen at version 2: it was tuned by its own figures alone (rates, volumes, how far the truth itself
tells winners from losers), before any model was fitted to it, and changes only under a new ``WORLD``. Each mechanism
can be switched off by name: ``Mechanisms().without("committee", "tender")``, names in ``SWITCHES``.

- **Accounts** are born on a uniform day with their first prospect; further prospects follow as a Poisson process whose
  rate depends on the size first recorded. Industry (NAF, many classes rare; those of a division have one effect),
  country, headcount, headcount band, category, legal form, public body and local authority are recorded, with gaps;
  the headcount changes or becomes known in later versions. A few prospects belong to no account.
- **Contacts**: up to five per account, appearing over time, with the role buyer, prescriber or user, which the role's
  column tells, or else the job title, or neither at first; roles sometimes change. An event bears the id of a contact
  known on that morning, or none.
- **Fit** is the sum of the recorded firmographics' effects and of the prospect's source, product and budget, with one
  interaction (the suite suits large firms). Size is the headcount, or else the middle of the band. Unknown values have
  no effect. Legal form, category and campaign have none at all.
- **Regime**: mass, industrial or project. What counts is what the records tell (the regime given, else by the rule of
  ``features.firms.infer_regime``). It sets the base of both hazards, how fast they start and events fade, and how
  strongly heats and the committee weigh.
- **Tenders**: most projects have an announcement and a deadline. Until the deadline little is decided, most in the
  weeks after it, and then nearly nothing is won any more.
- **Approach**: b2b2u suits public bodies and no others; b2b2e makes engaged users weigh more.
- **Events** of nine types come as a Poisson process whose rate rises with fit, fades with age and is lifted by what
  happened lately: digital touches bring replies and demo requests, those bring meetings, those bring quotes. Outbound
  effort follows the fit much more closely and moves the hazard little: it looks predictive, and is not.
- **Heats** are sums over the recorded events of (the type's weight) x exp(-age in days / tau): digital, intent, human;
  one for each contact; one over the events of the account's other prospects. A quote weighs less, the larger its
  amount.
- **Committee**: the heats of the contacts of each role, each saturating; a jump while all three roles are engaged; the
  share of the most active contact, which hurts.
- **Stages**: event types show that a prospect discovers, compares or decides. The hazard rises with the furthest stage
  reached, falls when only earlier ones are seen lately, and falls the longer a stage lasts.
- **Past outcomes** of the account: a recorded win raises the others' chances for a time, a loss lowers them.
- **The hazard** of a win is log-linear in all of these, with a slow start in the first days; that of a loss falls with
  heat and fit. Either closes the prospect for good.
- **After the sale** customers use the product, and renew about half a year later, the likelier the more they do
  (``training.simulate.renewal``). None of this moves the hazard of a first win.
- **Recording**: calls, meetings and outcomes are often typed in days later. Rates on a day depend on what was recorded
  before that day began, and events go on until the closing is *recorded*: the records then carry no hint of a closing
  that they do not hold.
- ``lead_quality`` is filled in by hand once the outcome is known, and declared ``known = "never"``.

Steps are days in UTC. Within a day: accounts and prospects are created from 7:00, events happen, versions change and
late records are typed in from 12:00, outcomes happen from 17:00; so the order of a day's stamps is causal too.

**The truth** at a midnight T is ``P(T < first win <= T + h | everything recorded before T)``. It is computed from the
records alone, never from the simulation's own state, in three parts:

1. *Closed already?* Given the records, the chance that a prospect without a recorded closing is really open is
   ``S / (S + sum_u S_u q_u L_u)``: u runs over the last days, q_u is that day's chance to close, L_u that its record is
   still to come, S_u the chance to be open at the start of day u, and S at T (both from the first of these days on;
   whatever closed earlier would be recorded).
2. *On their way.* Events that happened before T and are recorded after it are independent of those recorded
   (thinning of a Poisson process); they are drawn at the rates of their days.
3. *Forward.* Each draw runs the world's own day step for the prospect's account: events, recordings, versions, siblings
   that close, prospects still to come. The prospect itself is never closed within a draw. Its win probability is
   summed exactly along the drawn path (``sum_d S_d w_d``, with ``w_d`` the day's chance of a win), and averaged.

Probabilities are those given the records; divided by ``still_open`` they are those given also that the prospect is
really open, which is what rows are that a training or an evaluation keeps (DESIGN 4).

**The truth of an account** is that any prospect open at T wins within its own horizon. All its prospects move along
one path, on which none of them wins (a loss is drawn with its chance given that); the day's chances of that are
multiplied up, and the account's probability is 1 - the mean of the product. That is exact: until the first win the
world is just this path.
"""

from training.simulate.make import simulate
from training.simulate.mechanisms import (
    FAMILIES,
    HORIZON_DAYS,
    MAX_LAG,
    SWITCHES,
    TITLES,
    WORLD,
    Level,
    Mechanisms,
    Touch,
)
from training.simulate.world import World

__all__ = [
    "FAMILIES",
    "HORIZON_DAYS",
    "MAX_LAG",
    "SWITCHES",
    "TITLES",
    "WORLD",
    "Level",
    "Mechanisms",
    "Touch",
    "World",
    "simulate",
]

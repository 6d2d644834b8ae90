"""What the t tests of eval.statistics can find: the probability of a verdict when the true difference is known.

Both tests compare an estimate d ~ N(true, SE^2) with an estimated standard error se = SE * sqrt(chi^2_v / v). The
probability is averaged over se, which is what the noncentral t distribution does for the two-sided test and Owen's Q
for two one-sided tests. SE and v are those that were seen, so this is the power of runs that spread as these did.
"""

from __future__ import annotations

import numpy as np

_POINTS = 4096  # midpoints of equal probability: right to four decimals


def difference_power(standard_error: float, freedom: float, true: float, alpha: float) -> float:
    """P(p <= alpha) of the two-sided t test, 0 to 1, for a true difference in the units of `standard_error`."""
    from scipy.special import ndtr, stdtrit

    bound = float(stdtrit(freedom, 1 - alpha / 2)) * _spread(freedom)
    shift = true / standard_error
    return float(np.mean(ndtr(shift - bound) + ndtr(-shift - bound)))


def equivalence_power(standard_error: float, freedom: float, true: float, margin: float, alpha: float) -> float:
    """P(p <= alpha) of the two one-sided tests against ±margin, 0 to 1, for a true difference."""
    from scipy.special import ndtr, stdtrit

    # Equivalent is what lies inside ±margin by t standard errors: |d| < room, nowhere when there is no room.
    room = margin / standard_error - float(stdtrit(freedom, 1 - alpha)) * _spread(freedom)
    shift = true / standard_error
    return float(np.mean(np.where(room > 0, ndtr(room - shift) - ndtr(-room - shift), 0.0)))


def _spread(freedom: float) -> np.ndarray:
    """se / SE at the midpoints of equal probability."""
    from scipy.special import gammaincinv

    chances = (np.arange(_POINTS) + 0.5) / _POINTS
    ratio: np.ndarray = np.sqrt(2.0 * gammaincinv(freedom / 2.0, chances) / freedom)
    return ratio

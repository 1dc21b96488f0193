"""Resampling, nulls, multiplicity, power, claims. The unit is the prompt."""

from emotion_circuits.statistics.claims import VERDICTS, About, Claim, Figures, Judged, judge
from emotion_circuits.statistics.coverage import Rate, coverage, rate
from emotion_circuits.statistics.effects import cohens_dz, wrong_way_share
from emotion_circuits.statistics.families import Draft, corrected, draft, together
from emotion_circuits.statistics.interval_coverage import interval_coverage
from emotion_circuits.statistics.intervals import (
    bootstrap_mean_interval,
    bootstrap_mean_intervals,
    holding,
    mean_interval,
    mean_intervals,
)
from emotion_circuits.statistics.multiplicity import Family, fdr
from emotion_circuits.statistics.nulls import interval_p, rank_p, rank_ps
from emotion_circuits.statistics.paired import PairedDifference, paired_difference, paired_differences
from emotion_circuits.statistics.permutation import permutation_p, permutation_ps
from emotion_circuits.statistics.power import power, required_n, smallest_effect
from emotion_circuits.statistics.resampling import (
    Estimate,
    bootstrap_means,
    cluster_means,
    resample_counts,
)
from emotion_circuits.statistics.shares import Share, clustered_share
from emotion_circuits.statistics.supported import supported_shares
from emotion_circuits.statistics.verdict_power import Verdicts, verdict_effect, verdict_n, verdict_power

__all__ = [
    "VERDICTS",
    "About",
    "Claim",
    "Draft",
    "Estimate",
    "Family",
    "Figures",
    "Judged",
    "PairedDifference",
    "Rate",
    "Share",
    "Verdicts",
    "bootstrap_mean_interval",
    "bootstrap_mean_intervals",
    "bootstrap_means",
    "cluster_means",
    "clustered_share",
    "cohens_dz",
    "corrected",
    "coverage",
    "draft",
    "fdr",
    "holding",
    "interval_coverage",
    "interval_p",
    "judge",
    "mean_interval",
    "mean_intervals",
    "paired_difference",
    "paired_differences",
    "permutation_p",
    "permutation_ps",
    "power",
    "rank_p",
    "rank_ps",
    "rate",
    "required_n",
    "resample_counts",
    "smallest_effect",
    "supported_shares",
    "together",
    "verdict_effect",
    "verdict_n",
    "verdict_power",
    "wrong_way_share",
]

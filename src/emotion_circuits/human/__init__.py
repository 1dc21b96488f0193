"""People judge what a run wrote: a study frozen before anybody reads, raters' pages, and the analysis that was declared."""

"""One run from config to report: stages, resume, manifests."""

"""`report.html`: what happened in a run, a sweep or a study, for people who were not there."""

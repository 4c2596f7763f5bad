"""The imperative shell around the core: observes, plans, applies, records. Knows no vendor, only `taskjob.ports`."""

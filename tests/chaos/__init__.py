"""Broken on purpose: random schedules of faults over the real control plane, a real PostgreSQL and real operators.

`work` draws the jobs and says how each must end, `faults` is the table of what is done to them, `wires` stands between
the operator and what it speaks to, `schedule` plays one seed, `judge` looks at what came of it: at the API server's
audit log, the objects and the database, never at the operator's own words.
"""

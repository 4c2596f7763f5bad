"""The simulator: the scheduler's own core against a virtual clock, with pods that run for as long as a trace says.

`trace` reads what is to happen, `virtual` makes it happen, `report` says what came of it, `chart` draws it. Beside
`taskjob.admin`: no cluster, no database, no clock.
"""

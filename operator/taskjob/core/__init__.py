"""The scheduling core: pure, standard library only.

No I/O, no clock, no Kubernetes, no async, no logging. `now` is a parameter, decisions are values. The story of
one cycle stands in `cycle.plan`; what is scheduled over is `state.State`; the life of one job is `lifecycle.step`.
"""

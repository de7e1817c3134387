"""One file per algorithm for language models; `engine.algorithms.registry` names them.

Each says in its class what it is made of: `advantages`, `normalisers`, `ratios` and `surrogates`
hold the parts, `losses` puts them together, `base` is what a learner asks.
"""

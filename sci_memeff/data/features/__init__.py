"""From a `Protein` to the arrays that the network sees (AlphaFold 2, Supplement 1.2).

`pipeline` joins the others: each computes some features, draws or cuts; `schema` lists them all.
"""

"""The token tree: texts that begin alike as one row, and how a model attends to it.

token_tree.py       texts → rows of trees
attention.py        the function that transformers calls in each layer, and the dense reference
calls.py            the kernel on a CPU
cuda.py             which kernel a pack takes on a GPU: varlen.py, or FlexAttention
"""

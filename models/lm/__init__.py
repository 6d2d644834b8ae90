"""Language models of transformers: loading, position encodings by name, and the loss of each token.

Needs `pip install posgen[llm]`.
"""

"""The sections of a scenario: the resolved form of each, and its reading from the forms written.

Every ``read_`` function notes what is wrong with its section and returns the resolved values:
ranges and ``unknown`` at their middle, GPU tokens as money, ``chi2`` as coverage, and so on. They
are to be used only when nothing wrong was noted.
"""

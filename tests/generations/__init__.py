# SPDX-License-Identifier: Apache-2.0
"""
What models print, with verdicts made by hand.

One file per task. Every case has the reference, what a model might have written for it (made up for these tests, with
the typos, torn tags and leftovers that diffusion models produce), and whether a careful person would accept it.
"""

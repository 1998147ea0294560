"""Each version's own /etc: what you changed is carried over when a new version brings new defaults.

    scan(three trees) ─plan→ actions, each with its reason ─carry_out→ a new folder ─→ report
    old defaults, yours, new defaults

The same plan is the preview before an update and the merge at the first boot of the new version. A version's
folder is made whole and named last, so that a rollback finds the old /etc as it was.
"""

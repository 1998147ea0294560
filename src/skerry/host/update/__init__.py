"""Transactional updates of one host: two slots, a journal on disk before each step, one rename that commits.

    engine                  what commands and the timer ask for, each from these:
      situation             how this host is: disk (linux, gpt, entries), journal, keep, settings
      arrive                what follows from how it came up
      wish                  what is asked for, and what the channel offers (source; supply is the real one)
      prepare               the preview: plan (pure), costs, obstacles, packages, the merge of /etc
      stage                 the plan carried out; steps does one of them
      reboot, window, gate  whether now or later
      back                  the way to the other slot
    machine                 the states and their moves, pure, which all of them keep to
    around                  what host.etc, host.health and systemd do for it
    status                  what can be told without asking anybody

Each decides from values, and only engine, arrive, stage, steps and back touch the disk.
"""

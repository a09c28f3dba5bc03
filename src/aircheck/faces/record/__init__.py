"""Our own page at /record/, which records camera or screen over WHIP."""

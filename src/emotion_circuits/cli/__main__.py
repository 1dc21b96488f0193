"""``python -m emotion_circuits.cli``."""

from emotion_circuits.cli import main

main()

"""What test_lab.py kills: a lab with one endless process, marked by the script's argument."""

import sys

from lab import Lab, main_in_lab, wait_until


def main():
    world = Lab("victim")
    world.server().start(["sh", "-c", f"sleep 1000; : {sys.argv[1]}"], name="orphan")
    print("ready", flush=True)
    wait_until(lambda: False, 1000, "being killed")


if __name__ == "__main__":
    main_in_lab(main)

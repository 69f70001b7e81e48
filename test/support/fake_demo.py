"""`uma demo` with the fake policy, for tests."""

import sys

from harness import fake_command

from uma_ros.commands import demo

if __name__ == "__main__":
    sys.exit(demo.main(sys.argv[1:], fake_command))

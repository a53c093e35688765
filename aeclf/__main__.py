"The command `aeclf`, as `python -m aeclf`."
from aeclf.cli import main

if __name__ == '__main__': main()

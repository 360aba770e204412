"""``python -m pliers_db`` is ``pliers-db``."""

from pliers_db.cli.main import main

if __name__ == "__main__":
    main()

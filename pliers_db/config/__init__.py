"""Settings: the environment, the project, the database, and where each value came from."""

from pliers_db.config.environment import Environment, parse_environment
from pliers_db.config.project import Project, find_project
from pliers_db.config.secret import Secret
from pliers_db.config.settings import PoolSettings, Settings, load_settings
from pliers_db.config.target import Target
from pliers_db.config.url import parse_url

__all__ = [
    "Environment",
    "PoolSettings",
    "Project",
    "Secret",
    "Settings",
    "Target",
    "find_project",
    "load_settings",
    "parse_environment",
    "parse_url",
]

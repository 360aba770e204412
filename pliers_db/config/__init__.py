"""Settings: the environment, the project, the database, and where each value came from."""

from pliers_db.config.ambient import drop_ambient, without_ambient
from pliers_db.config.environment import Environment, parse_environment
from pliers_db.config.guard import Stamp, check_allowed, check_restamp
from pliers_db.config.pool import PoolSettings
from pliers_db.config.project import Project, find_project
from pliers_db.config.secret import Secret
from pliers_db.config.settings import Settings, find_variable, load_settings, read_variables
from pliers_db.config.target import Target
from pliers_db.config.url import format_url, parse_url

__all__ = [
    "Environment",
    "PoolSettings",
    "Project",
    "Secret",
    "Settings",
    "Stamp",
    "Target",
    "check_allowed",
    "check_restamp",
    "drop_ambient",
    "find_project",
    "find_variable",
    "format_url",
    "load_settings",
    "parse_environment",
    "parse_url",
    "read_variables",
    "without_ambient",
]

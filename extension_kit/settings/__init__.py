"""Settings from environment variables: the kit's own, and the means to declare more."""

from extension_kit.settings.kit import Settings as Settings

"""Settings from environment variables: the kit's own, and declarations for those of extensions."""

from extension_kit.settings.kit import Settings as Settings

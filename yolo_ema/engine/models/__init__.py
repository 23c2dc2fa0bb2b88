"""Model YAMLs: registration, definitions, presets."""

"""What the stages share: nouns, each importable without the rest."""

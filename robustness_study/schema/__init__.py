"""One schema file per params section, so that a new key in one section re-runs no other stage."""

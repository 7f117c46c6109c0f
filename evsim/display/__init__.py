"""How objects, text and pictures are shown to a user."""

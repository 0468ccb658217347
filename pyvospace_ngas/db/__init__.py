"""SQL; rows become values here and only here."""

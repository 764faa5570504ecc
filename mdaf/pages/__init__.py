"""What every HTML page of this project has in common: colours, style sheet, document, charts. None needs a network."""

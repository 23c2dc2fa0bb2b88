"""Tables, plots and a contact sheet of a dataset."""

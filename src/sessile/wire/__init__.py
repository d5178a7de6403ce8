"""What goes over the wire: values and their encodings. Pure; the server and its clients share it."""

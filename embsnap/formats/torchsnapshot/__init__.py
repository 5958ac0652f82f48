"""The format of torchsnapshot: its metadata, its tables, their rows; read and written without torch."""

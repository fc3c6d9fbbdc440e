"""The codec: mel front end, BVRNN coder, vocoders, streaming state, engines, model folders, files."""

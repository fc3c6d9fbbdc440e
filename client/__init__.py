"""The call application: devices, the codec thread, and what the user sees."""

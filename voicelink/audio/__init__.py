"""Sound as float32 arrays at +-1 full scale: files, resampling, ring between threads, levels. No devices."""

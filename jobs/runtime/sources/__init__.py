"""Where cascades come from: files of three known shapes, or the simulator."""

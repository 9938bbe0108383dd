"""The science of Tweetoscope: numpy in, numpy out."""

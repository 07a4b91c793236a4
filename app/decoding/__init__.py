"""Decoding in processes of their own, so that a decoder that hangs, crashes or eats memory costs one request.

    service                     nursery                     decoders, one for each thread that decodes
    decoders, processes ------> nursery: imports the -----> decoder: behind fences of time, memory, files
         |           start, end libraries once        fork      ^
         +------------------- upload, answer -------------------+

The nursery is a clean interpreter that forks decoders, which takes milliseconds and shares the libraries' memory; it
sees no upload. The service imports none of the libraries that read uploads, and takes from a decoder plain values of
known types and sizes alone.

The standard library's forkserver is not used: it listens on a socket file and exchanges pickles.
"""

"""Faults injected into what people bring, what a run leaves on disk and what machines do: `make faults`.

A fault is survived if what is read afterwards is what was written, or nothing is read and one line says why. Another
result without a word, and any exception but the library's own, is lost.
"""

"""From a file that a person has to an artefact that a runtime can serve; runs in a child process."""

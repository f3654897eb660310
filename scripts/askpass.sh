#!/bin/sh
# Answers git's questions with the job's token, from the environment.
case "$1" in
    Username*) echo x-access-token ;;
    Password*) echo "${TOKEN:?}" ;;
esac

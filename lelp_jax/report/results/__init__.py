"""The comparison of methods: test evaluation, statistics, the table and the text around it."""

"""The words of Colchis as immutable types: resources, constraints, apps, clusters, plans."""

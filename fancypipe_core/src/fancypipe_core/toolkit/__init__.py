"""The toolkit of those who write backends: public, and above the contract."""

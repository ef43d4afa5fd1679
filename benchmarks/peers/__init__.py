"""The servers Kaname is compared with: each folder holds pinned requirements and one small server file."""

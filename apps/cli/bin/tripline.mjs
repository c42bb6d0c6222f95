#!/usr/bin/env node
import '../../../scripts/tripline.mjs';
